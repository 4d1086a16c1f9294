/**
 * The words of NanoWorld: a fixed list, whatever the seed, so that every world shares one tokenizer. Words of one class have consecutive ids, so that
 * a generator can name "the seventh town" by arithmetic. Names of persons, towns and elements are invented; no word belongs to two classes.
 */

/** Consecutive ids `base ... base + size - 1`. */
export interface WordClass {
  readonly base: number;
  readonly size: number;
}

const SPECIAL = ["<eos>", "<mask>", "<unk>"];
const split = (text: string) => text.trim().split(/\s+/);
const joined = (heads: string, tails: string) => split(heads).flatMap((h) => split(tails).map((t) => h + t));

const CLASSES = {
  digit: split("0 1 2 3 4 5 6 7 8 9"),
  letter: split("a b c d e f g h i j k l m n o p q r s t u v w x y z"),
  mark: split(". : ; , = + - * ( )"),
  day: split("monday tuesday wednesday thursday friday saturday sunday"),
  month: split("january february march april may june july august september october november december"),
  first: joined("bal dor fen gim hul jas kel lom", "a en i o ur is eth ya"),
  last: joined("brin cor dal esk far gor han ivor", "mond stad wick ley ner sen tov vald"),
  home: joined("arve belt cind dask", "holm ford mire by"),
  craft: split(
    "baker smith weaver potter sailor tailor mason miner farmer hunter painter barber cooper fisher tanner clerk",
  ),
  drink: split("tea coffee milk cider cocoa juice water beer mead broth lemonade wine soup nectar syrup punch"),
  pet: split("cat dog horse goat sheep pig duck goose hen owl crow hawk frog toad snake mouse"),
  element: joined("qua zor xil vul nyp pra thu omb", "lite ric nex dum"),
  thing: split(
    "lamp cup rope door chair table box bell drum boat cart wheel stone brick plate bowl " +
      "spoon mirror clock book shelf basket candle ladder barrel bucket kettle tent carpet pillow bench fence",
  ),
  verb: split(
    "open close mend clean lift move cut bend paint dry heat cool fill empty measure mark " +
      "polish seal split join carry hang hide wrap weigh drill scrape tie sink raise turn soak",
  ),
  tool: split("hammer saw needle brush shovel wrench knife pliers chisel broom crane lever sponge torch hook scissors"),
  action: split(
    "drops kicks burns freezes shakes throws pulls pushes hits twists buries rubs spins licks cracks blows",
  ),
  effect: split(
    "breaks melts sings glows grows shrinks jumps rolls sleeps floats falls smokes rings leaks fades bursts",
  ),
  manner: split(
    "loudly slowly twice softly gladly sadly quickly brightly darkly never again tomorrow upward downward inside outside",
  ),
  adjective: split("old tin red tall"),
  truth: split("false true"),
  plain: split(
    "home craft drink pet lives in the of is to works as work for drinks only keeps one card with makes mix into days months letters after before plus minus " +
      "product times set show by shift sort up down reverse and or xor not heavier lighter use helps who must takes it when",
  ),
} as const;

export type ClassName = keyof typeof CLASSES;

/** All words by id; ids 0, 1 and 2 are the specials. */
export const VOCABULARY: readonly string[] = [...SPECIAL, ...uniqueWords()];

/** The end of a text, which also fills sequences up. */
export const EOS_ID = 0;
/** The mask of the forward process. */
export const MASK_ID = 1;
/** What a word outside the vocabulary becomes. */
export const UNKNOWN_ID = 2;

const IDS: ReadonlyMap<string, number> = new Map(VOCABULARY.map((word, id) => [word, id]));

/** The ids of each class of words. */
export const WORDS = classRanges();

/** The id of a word; throws `RangeError` for one that is not in the vocabulary. */
export function id(word: string): number {
  const found = IDS.get(word);
  if (found === undefined) throw new RangeError(`Cannot find the word "${word}" in the vocabulary of NanoWorld`);
  return found;
}

/** Ids (int32 `[words]`) of a text of words between white space; throws `RangeError` for an unknown word. */
export function encode(text: string): Int32Array {
  return Int32Array.from(text.split(/\s+/).filter((word) => word !== ""), id);
}

/** The words of `ids`, with one space between them; throws `RangeError` for an id outside the vocabulary. */
export function decode(ids: Iterable<number>): string {
  return Array.from(ids, (i) => {
    if (VOCABULARY[i] === undefined) {
      throw new RangeError(`Cannot decode the id ${i}: NanoWorld has ${VOCABULARY.length} words`);
    }
    return VOCABULARY[i];
  }).join(" ");
}

function uniqueWords(): string[] {
  const words = Object.values(CLASSES).flat() as string[];
  const seen = new Set<string>();
  for (const word of words) {
    if (seen.has(word)) throw new RangeError(`Cannot build the vocabulary: the word "${word}" stands in it twice`);
    seen.add(word);
  }
  return words;
}

function classRanges(): Readonly<Record<ClassName, WordClass>> {
  let base = SPECIAL.length;
  const ranges = {} as Record<ClassName, WordClass>;
  for (const [name, words] of Object.entries(CLASSES)) {
    ranges[name as ClassName] = { base, size: words.length };
    base += words.length;
  }
  return ranges;
}
