/**
 * The program in Python that confines itself for good and then runs another. It needs Linux on x86-64 or arm64, with Landlock, and ctypes.
 *
 * Which guarantee comes from what:
 * - files: Landlock. Python's own libraries are read, the folder of the run is read and written, nothing else is opened, made, moved or removed. What Landlock
 *   does not govern (modes, owners, times, attributes, truncation by path, mounts) seccomp refuses.
 * - network: seccomp refuses sockets of every family, and io_uring, which would make them otherwise.
 * - processes: seccomp refuses fork, clone (threads with it), exec, signals and tracing.
 * - memory, processor time, size and number of files: resource limits, which seccomp and the loss of all capabilities keep from being raised again.
 * - wall-clock time: whoever started it kills it; there is one process.
 *
 * Not limited: the number of files in the folder of the run, until time is up; names and sizes of files elsewhere can be asked for (stat), not their bytes.
 */

/** x86-64 and arm64 numbers of the calls that are refused; 0 where the machine has no such call. */
const refused: readonly (readonly [name: string, x86: number, arm: number])[] = [
  ["socket", 41, 198],
  ["socketpair", 53, 199],
  ["connect", 42, 203],
  ["bind", 49, 200],
  ["listen", 50, 201],
  ["accept", 43, 202],
  ["accept4", 288, 242],
  ["sendto", 44, 206],
  ["sendmsg", 46, 211],
  ["io_uring_setup", 425, 425],
  ["clone", 56, 220],
  ["clone3", 435, 435],
  ["fork", 57, 0],
  ["vfork", 58, 0],
  ["execve", 59, 221],
  ["execveat", 322, 281],
  ["kill", 62, 129],
  ["tkill", 200, 130],
  ["tgkill", 234, 131],
  ["rt_sigqueueinfo", 129, 138],
  ["rt_tgsigqueueinfo", 297, 240],
  ["pidfd_send_signal", 424, 424],
  ["pidfd_open", 434, 434],
  ["pidfd_getfd", 438, 438],
  ["ptrace", 101, 117],
  ["process_vm_readv", 310, 270],
  ["process_vm_writev", 311, 271],
  ["setrlimit", 160, 164],
  ["prlimit64", 302, 261],
  ["truncate", 76, 45],
  ["chmod", 90, 0],
  ["fchmod", 91, 52],
  ["fchmodat", 268, 53],
  ["fchmodat2", 452, 452],
  ["chown", 92, 0],
  ["lchown", 94, 0],
  ["fchown", 93, 55],
  ["fchownat", 260, 54],
  ["utime", 132, 0],
  ["utimes", 235, 0],
  ["futimesat", 261, 0],
  ["utimensat", 280, 88],
  ["setxattr", 188, 5],
  ["lsetxattr", 189, 6],
  ["fsetxattr", 190, 7],
  ["removexattr", 197, 14],
  ["lremovexattr", 198, 15],
  ["fremovexattr", 199, 16],
  ["mknod", 133, 0],
  ["mknodat", 259, 33],
  ["chroot", 161, 51],
  ["pivot_root", 155, 41],
  ["mount", 165, 40],
  ["umount2", 166, 39],
  ["open_tree", 428, 428],
  ["move_mount", 429, 429],
  ["fsopen", 430, 430],
  ["fsmount", 432, 432],
  ["mount_setattr", 442, 442],
  ["unshare", 272, 97],
  ["setns", 308, 268],
  ["name_to_handle_at", 303, 264],
  ["open_by_handle_at", 304, 265],
  ["bpf", 321, 280],
  ["perf_event_open", 298, 241],
  ["userfaultfd", 323, 282],
  ["memfd_create", 319, 279],
  ["shmget", 29, 194],
  ["msgget", 68, 186],
  ["semget", 64, 190],
  ["mq_open", 240, 180],
  ["add_key", 248, 217],
  ["request_key", 249, 218],
  ["keyctl", 250, 219],
  ["quotactl", 179, 60],
  ["swapon", 167, 224],
  ["reboot", 169, 142],
  ["sethostname", 170, 161],
  ["setdomainname", 171, 162],
  ["init_module", 175, 105],
  ["finit_module", 313, 273],
  ["delete_module", 176, 106],
  ["kexec_load", 246, 104],
  ["kexec_file_load", 320, 294],
];

const numbers = (column: 1 | 2) => JSON.stringify(refused.map((row) => row[column]).filter((n) => n > 0));

/**
 * It reads one line of JSON from its input: "program", "nonce", "memory" and "file" in bytes, "seconds" of processor time. It writes one: {"refused": why} when
 * it could not confine itself, else {"nonce", "error"}, where the error is null for a program that ended without one.
 */
export const prelude = `
import ctypes, json, os, platform, resource, struct, sys

given = json.loads(sys.stdin.readline())
out = os.dup(1)

def say(value):
    os.write(out, (json.dumps(value) + "\\n").encode())

def confine():
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64"):
        raise OSError("it needs Linux on x86-64 or arm64, and this is " + sys.platform + " on " + machine)
    libc = ctypes.CDLL(None, use_errno=True)
    def call(number, *arguments):
        result = libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result

    limits = ((resource.RLIMIT_AS, given["memory"]), (resource.RLIMIT_CPU, given["seconds"]),
              (resource.RLIMIT_FSIZE, given["file"]), (resource.RLIMIT_NOFILE, 64), (resource.RLIMIT_CORE, 0))
    for limit, value in limits:
        resource.setrlimit(limit, (value, value))

    if libc.prctl(38, 1, 0, 0, 0) != 0:
        raise OSError("the kernel has no PR_SET_NO_NEW_PRIVS")
    try:
        version = call(444, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    except OSError:
        raise OSError("the kernel has no Landlock: it takes Linux 5.13 or later with landlock among its security modules")
    rights = (1 << (13 if version < 2 else 14 if version < 3 else 15 if version < 5 else 16)) - 1
    rules = struct.pack("Q", rights)
    ruleset = call(444, rules, ctypes.c_size_t(len(rules)), ctypes.c_uint32(0))
    file_read, read = 1 << 2, 1 << 2 | 1 << 3
    places = [(path, read) for path in {*sys.path, sys.prefix + "/lib", sys.base_prefix + "/lib", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo"}]
    places += [("/dev/urandom", file_read), ("/dev/null", file_read | 1 << 1), ("/etc/ld.so.cache", file_read)]
    places += [(os.getcwd(), rights)]
    for path, allowed in places:
        if not path or not os.path.exists(path):
            continue
        if not os.path.isdir(path):
            allowed &= 1 << 1 | 1 << 2
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        call(445, ctypes.c_int(ruleset), ctypes.c_int(1), struct.pack("=Qi", allowed, place), ctypes.c_uint32(0))
        os.close(place)
    call(446, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)

    capset = 126 if machine == "x86_64" else 91
    call(capset, struct.pack("Ii", 0x20080522, 0), struct.pack("6I", 0, 0, 0, 0, 0, 0))

    architecture = 0xC000003E if machine == "x86_64" else 0xC00000B7
    numbers = ${numbers(1)} if machine == "x86_64" else ${numbers(2)}
    load, equal, above, give = 0x20, 0x15, 0x35, 0x06
    fail = (give, 0, 0, 0x00050001)
    steps = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, 0x80000000), (load, 0, 0, 0)]
    if machine == "x86_64":
        steps += [(above, 0, 1, 0x40000000), fail]
    for number in numbers:
        steps += [(equal, 0, 1, number), fail]
    steps += [(give, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    filter = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    if libc.prctl(22, 2, filter, 0, 0) != 0:
        raise OSError("the kernel has no seccomp filters")

def check():
    import socket
    def outside(mode):
        with open("/etc/passwd" if mode == "r" else "/tmp/outside-of-the-sandbox", mode):
            pass
    tries = (("sockets", lambda: socket.socket()), ("processes", os.fork), ("files", lambda: outside("r")), ("writing", lambda: outside("w")))
    for what, attempt in tries:
        try:
            if attempt() == 0 and what == "processes":
                os._exit(0)
        except OSError:
            continue
        raise OSError(what + " were not refused")

try:
    confine()
    check()
except BaseException as error:
    say({"refused": str(error) or type(error).__name__})
    os._exit(1)

quiet = os.open("/dev/null", os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(quiet, descriptor)

def run(program):
    try:
        exec(compile(program, "answer", "exec"), {})
    except BaseException as error:
        return (type(error).__name__ + ": " + str(error))[:500]

error = run(given["program"])
say({"nonce": given["nonce"], "error": error})
os._exit(0)
`;
