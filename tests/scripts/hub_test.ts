/** From an id of the Hub to text: quantize, generate and export as a person runs them, against a Hub on this machine. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { contents, writeSharded } from "../pipeline/checkpoints.ts";
import { fakeHub, type Files } from "../model/fake_hub.ts";
import { inFolder } from "../model/tiny.ts";

const id = "GSAI-ML/LLaDA-8B-Base";
const commit = "c".repeat(40);

/** The shape of nano-llada, whose tokenizer fits. */
const config = {
  ...JSON.parse(await Deno.readTextFile("data/nano-llada/config.json")),
  d_model: 64,
  mlp_hidden_size: 96,
};

Deno.test("an id of the Hub becomes a packed checkpoint that writes text and exports", async () => {
  await inFolder(async (folder) => {
    await writeSharded(`${folder}/full`, config);
    for (const file of ["tokenizer.json", "tokenizer_config.json"]) {
      await Deno.copyFile(`data/nano-llada/${file}`, `${folder}/full/${file}`);
    }
    await Deno.writeTextFile(`${folder}/full/modeling_llada.py`, "# code of the checkpoint\n");
    const files: Record<string, Uint8Array> = {};
    for (const [name, hex] of Object.entries(await contents(`${folder}/full`))) files[name] = Uint8Array.fromHex(hex);
    await using hub = fakeHub({ [id]: { commits: { [commit]: files as Files }, refs: { main: commit } } });
    hub.faults.tokens = ["hf_secret"];
    const script = async (name: string, token: string, ...args: string[]) => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "--quiet", "--no-check", "-A", `scripts/${name}.ts`, ...args],
        env: { NO_COLOR: "1", HF_ENDPOINT: hub.endpoint, HF_HOME: `${folder}/home`, HF_TOKEN: token },
      }).output();
      return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
    };
    const calibration = ["--calibration", "data/nanoworld/calibration.jsonl", "--windows", "4", "--length", "32"];
    const quantize = [
      id,
      "--out",
      `${folder}/packed`,
      "--method",
      "quant-dllm",
      "--bits",
      "2",
      ...calibration,
      "--device",
      "cpu",
    ];
    const refused = await script("quantize", "hf_wrong", ...quantize);
    assertEquals(refused.code, 1);
    assertStringIncludes(refused.err, "HF_TOKEN");
    const { code, out, err } = await script("quantize", "hf_secret", ...quantize);
    assertEquals(code, 0, err + out);
    assertStringIncludes(err, `${id}: daq-plus-2b-g32`);
    assertEquals(JSON.parse(out).linears, 14);
    const made = await contents(`${folder}/packed`);
    const card = await Deno.readTextFile(`${folder}/packed/README.md`);
    assertStringIncludes(card, `base_model: ${id}`);
    assertStringIncludes(card, commit);
    assertEquals(made["modeling_llada.py"], new TextEncoder().encode("# code of the checkpoint\n").toHex());

    // The Hub is not asked again for what is packed; both ways to run say the same but for rounding.
    const before = hub.log.length;
    for (const run of ["dense", "packed"]) {
      const said = await script(
        "generate",
        "",
        `${folder}/packed`,
        "lomen rubs the boat",
        "--length",
        "8",
        "--run",
        run,
        "--device",
        "cpu",
      );
      assertEquals(said.code, 0, said.err);
      assertStringIncludes(said.err, "8 function evaluations");
    }
    const exported = await script("export", "", `${folder}/packed`, "--format", "hf", "--out", `${folder}/plain`);
    assertEquals(exported.code, 0, exported.err);
    const again = JSON.parse(await Deno.readTextFile(`${folder}/plain/config.json`));
    assertEquals(again.quantization_config, undefined);
    assert("tokenizer.json" in await contents(`${folder}/plain`));
    assertEquals(hub.log.length, before);
  });
});
