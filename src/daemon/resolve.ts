/**
 * Server names → addresses, for each link by itself.
 *
 * The system's way comes first (it knows /etc/hosts). When the bond is the default route and is dead, those questions die in it
 * too; so the second way asks the name servers from the link's own address, which the source rules send out by that link.
 */
import { lookup, Resolver } from 'node:dns/promises';
import { type AddressBytes, parseAddress, printAddress } from '../base/address.ts';

/** How long one way of asking may take. */
const PATIENCE_MS = 5000;

/** What a link needs to know of a name. */
export interface NameQuestion {
  name: string;
  /** Addresses of the link; their families say which answers are of use. Empty: any. */
  localAddresses: readonly AddressBytes[];
}

/** Asks; undefined when there is no answer that this link can use. */
export type ResolveName = (question: NameQuestion) => Promise<AddressBytes | undefined>;

/** The first answer of a family that the link has, IPv4 first: the header is 20 bytes shorter. */
export function chooseAddress(
  answers: readonly AddressBytes[],
  localAddresses: readonly AddressBytes[],
): AddressBytes | undefined {
  const fits = (a: AddressBytes) => localAddresses.length === 0 || localAddresses.some((l) => l.length === a.length);
  const fitting = answers.filter(fits);
  return fitting.find((a) => a.length === 4) ?? fitting[0];
}

/** Resolves through the system, then through the link itself. A literal address needs nobody. */
export const resolveName: ResolveName = async ({ name, localAddresses }) => {
  const literal = parseAddress(name);
  if (literal) return literal;
  for (const ask of [askSystem, askThroughLink]) {
    const answers = await withPatience(ask(name, localAddresses));
    const chosen = chooseAddress(answers, localAddresses);
    if (chosen) return chosen;
  }
  return undefined;
};

/**
 * Questions to the system that are not answered yet. One for each name: each holds a thread of the pool that files are written by, too, and
 * dead name servers hold it for long.
 */
const asking = new Map<string, Promise<AddressBytes[]>>();

function askSystem(name: string): Promise<AddressBytes[]> {
  let answer = asking.get(name);
  if (!answer) {
    answer = lookup(name, { all: true })
      .then((found) => parseAll(found.map((a) => a.address)))
      .finally(() => asking.delete(name));
    asking.set(name, answer);
  }
  return answer;
}

async function askThroughLink(name: string, localAddresses: readonly AddressBytes[]): Promise<AddressBytes[]> {
  const v4 = localAddresses.find((a) => a.length === 4);
  const v6 = localAddresses.find((a) => a.length === 16);
  if (!v4 && !v6) return [];
  const resolver = new Resolver({ timeout: 1500, tries: 2 });
  resolver.setLocalAddress(v4 ? printAddress(v4) : undefined, v6 ? printAddress(v6) : undefined);
  const answers = await Promise.allSettled([
    v4 ? resolver.resolve4(name) : Promise.resolve([]),
    v6 ? resolver.resolve6(name) : Promise.resolve([]),
  ]);
  return parseAll(answers.flatMap((a) => (a.status === 'fulfilled' ? a.value : [])));
}

function parseAll(texts: string[]): AddressBytes[] {
  return texts.map((t) => parseAddress(t)).filter((a) => a !== undefined);
}

async function withPatience(answers: Promise<AddressBytes[]>): Promise<AddressBytes[]> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<AddressBytes[]>((resolve) => {
    timer = setTimeout(() => resolve([]), PATIENCE_MS);
  });
  try {
    return await Promise.race([answers, late]);
  } catch {
    return []; // no answer and a wrong answer are the same to the caller: it asks again later
  } finally {
    clearTimeout(timer);
  }
}
