/** Code answers: right ones pass, and each thing that they must not do is refused. Needs Python 3 and a Linux with Landlock and seccomp. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { checkSandbox, runPython } from "../../lib/harness/sandbox.ts";
import { python } from "./python.ts";

const missing = Deno.build.os !== "linux"
  ? "it needs Linux"
  : python === undefined
  ? "install python3"
  : await checkSandbox({ python }).then(() => "", (error) => error.message);
if (missing) console.log(`SKIPPED the sandbox: ${missing}`);

const test = (name: string, fn: () => Promise<void>) => Deno.test({ name, ignore: missing !== "", fn });
const outcome = async (program: string, options = {}) => (await runPython(program, { python, ...options })).outcome;

test("right code passes, with the standard library and files of its own", async () => {
  const program = `
import collections, functools, hashlib, heapq, itertools, json, math, random, re, statistics, string, typing, datetime, decimal
def add(a, b):
    return a + b
assert add(2, 3) == 5
assert hashlib.md5(b"a").hexdigest().startswith("0cc1")
with open("own.txt", "w") as f:
    f.write("x" * 1000)
assert open("own.txt").read() == "x" * 1000
print("noise" * 10000)
`;
  assertEquals(await runPython(program, { python }), { passed: true, outcome: "passed" });
});

test("wrong code fails, and so does code that leaves before its tests", async () => {
  assertMatch(await outcome("assert 1 == 2, 'no'"), /AssertionError: no/);
  assertMatch(await outcome("def f(:"), /SyntaxError/);
  assertMatch(await outcome("import sys; sys.exit(0)"), /SystemExit/);
  assertEquals(await outcome("import os; os._exit(0)"), "killed");
  assertEquals(await outcome('import os; os.write(1, b\'{"nonce": "x", "error": null}\'); os._exit(0)'), "killed");
});

test("the network is refused", async () => {
  for (const family of ["AF_INET", "AF_INET6", "AF_UNIX"]) {
    assertMatch(await outcome(`import socket; socket.socket(socket.${family})`), /PermissionError/);
  }
  assertMatch(await outcome("import urllib.request; urllib.request.urlopen('http://127.0.0.1:1')"), /not permitted/);
});

test("files outside are neither read, written, changed nor removed", async () => {
  const outside = await Deno.makeTempDir();
  try {
    const victim = `${outside}/victim`;
    await Deno.writeTextFile(victim, "kept");
    const mode = (await Deno.stat(victim)).mode;
    const attempts = [
      "open('/etc/passwd')",
      "open('/proc/self/environ')",
      "import os; os.listdir('/root')",
      "import os; os.listdir('/home')",
      `open('${victim}')`,
      `open('${victim}', 'a')`,
      `open('${outside}/new', 'w')`,
      `import os; os.truncate('${victim}', 0)`,
      `import os; os.remove('${victim}')`,
      `import os; os.rename('${victim}', 'mine')`,
      `import os; os.link('${victim}', 'mine')`,
      `import os; os.symlink('${victim}', 'mine'); open('mine')`,
      `import os; os.chmod('${victim}', 0)`,
      `import os; os.chown('${victim}', 1, 1)`,
      `import os; os.utime('${victim}', (0, 0))`,
      `import os; os.mkdir('${outside}/folder')`,
      "import os; os.chroot('.')",
    ];
    for (const attempt of attempts) {
      assertMatch(await outcome(attempt), /^(PermissionError|OSError: \[Errno 18\])/, attempt);
    }
    assertEquals(await Deno.readTextFile(victim), "kept");
    assertEquals((await Deno.stat(victim)).mode, mode);
    assertEquals([...Deno.readDirSync(outside)].map(({ name }) => name), ["victim"]);
  } finally {
    await Deno.remove(outside, { recursive: true });
  }
});

test("processes, threads, programs and signals are refused", async () => {
  const attempts = [
    "import os; os.fork()",
    "import subprocess; subprocess.run(['/bin/true'])",
    "import os; os.execv('/bin/true', ['true'])",
    "import os; os.kill(os.getppid(), 15)",
    "import threading; threading.Thread(target=print).start()",
    "import ctypes; n = ctypes.CDLL(None, use_errno=True).fork(); raise PermissionError(n) if n < 0 else SystemExit(n)",
  ];
  for (const attempt of attempts) assertMatch(await outcome(attempt), /^(PermissionError|RuntimeError)/, attempt);
});

test("an endless loop is killed, by its processor time or by the clock", async () => {
  const start = performance.now();
  assertEquals(await outcome("while True: pass", { cpuSeconds: 1 }), "killed");
  assertEquals(await outcome("import time; time.sleep(100)", { wallSeconds: 0.7 }), "timed out");
  assert(performance.now() - start < 8000);
});

test("four gigabytes are refused, and the limits cannot be raised", async () => {
  assertMatch(await outcome("x = bytearray(4 * 1024 ** 3)"), /MemoryError/);
  assertMatch(await outcome("x = []\nwhile True: x.append(bytes(10 ** 8))"), /MemoryError|killed/);
  const raise = "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))";
  assertMatch(await outcome(raise), /PermissionError|not permitted|not allowed/);
  assertMatch(await outcome("open('big', 'wb').write(bytes(2 ** 25))"), /OSError.*(large|too)|killed/i);
});

test("the folder of a run is gone afterwards", async () => {
  const before = new Set([...Deno.readDirSync(tempRoot())].map(({ name }) => name));
  await outcome("open('left', 'w').write('x')");
  const after = [...Deno.readDirSync(tempRoot())].map(({ name }) => name).filter((name) => name.startsWith("answer-"));
  assertEquals(after.filter((name) => !before.has(name)), []);
});

Deno.test("without a Python, code is refused with what is missing", async () => {
  const error = await assertRejects(() => checkSandbox({ python: "/no/such/python" }), Error);
  assertMatch(error.message, /Cannot run code answers: there is no "\/no\/such\/python"/);
});

Deno.test({
  name: "a Python that cannot confine itself runs nothing",
  ignore: Deno.build.os === "windows",
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const path = `${folder}/python3`;
      await Deno.writeTextFile(path, '#!/bin/sh\necho \'{"refused": "the kernel has no Landlock"}\'\n', {
        mode: 0o755,
      });
      const error = await assertRejects(() => runPython("pass", { python: path }), Error);
      assertMatch(error.message, /Cannot run code answers: the kernel has no Landlock/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

function tempRoot(): string {
  const probe = Deno.makeTempDirSync();
  Deno.removeSync(probe);
  return probe.slice(0, probe.lastIndexOf("/"));
}
