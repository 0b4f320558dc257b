/**
 * Classic BPF that chooses by chance, and by address, which packets tc copies (linux/filter.h). Pure. Offsets count
 * from the Ethernet header, which tc shows at an interface's ingress.
 */

const ETHERNET_BYTES = 14
const LOAD_WORD = 0x20
const AND = 0x54
const JUMP_IF_EQUAL = 0x15
const JUMP_IF_AT_LEAST = 0x35
const RETURN = 0x06
/** SKF_AD_OFF + SKF_AD_RANDOM: 32 random bits. */
const RANDOM = 0xfffff000 + 56
const YES = 0xffffffff
const NO = 0
const WORD_BITS = 32
/** Where addresses stand in their headers, bytes. */
const ADDRESS_OFFSETS = { ip: { source: 12, destination: 16 }, ip6: { source: 8, destination: 24 } }

export interface CopyRule {
  /** Copies for a hundred packets on the average. */
  pct: number
  family: 'ip' | 'ip6'
  /** Which address is the peer's. */
  peer: 'source' | 'destination'
  /** CIDR of the peers it is for; null: everybody. */
  match: string | null
  /** CIDRs it is not for. */
  except: string[]
}

type Instruction = [code: number, ifTrue: number, ifFalse: number, value: number]

/**
 * The program in tc's notation, `4,32 0 0 4294963256,…`. A copy is chosen again where it comes back, with the same
 * chance q, so that q + q² + … = q / (1 - q) is what was asked.
 */
export function copyProgram({ pct, family, peer, match, except }: CopyRule): string {
  const offset = ETHERNET_BYTES + ADDRESS_OFFSETS[family][peer]
  const asked = pct / 100
  const chance = asked / (1 + asked)
  const program: Instruction[] = [
    ...except.flatMap(prefix => unlessIn(prefix, offset)),
    ...(match === null ? [] : onlyIn(match, offset)),
    [LOAD_WORD, 0, 0, RANDOM],
    [JUMP_IF_AT_LEAST, 1, 0, Math.min(YES, Math.floor(chance * 2 ** WORD_BITS))],
    [RETURN, 0, 0, YES],
    [RETURN, 0, 0, NO]
  ]
  return [String(program.length), ...program.map(instruction => instruction.join(' '))].join(',')
}

/** Words of a prefix with their masks, in order; words it says nothing of are left out. */
function wordsOf(prefix: string): Array<{ at: number; mask: number; value: number }> {
  const [address = '', length = ''] = prefix.split('/')
  const words = address.includes(':') ? ipv6Words(address) : [ipv4Word(address)]
  return words.flatMap((word, index) => {
    const bits = Math.min(WORD_BITS, Number(length) - index * WORD_BITS)
    if (bits <= 0) return []
    const mask = bits === WORD_BITS ? YES : (YES << (WORD_BITS - bits)) >>> 0
    return [{ at: index * 4, mask, value: (word & mask) >>> 0 }]
  })
}

const ipv4Word = (address: string): number =>
  address.split('.').reduce((word, byte) => ((word << 8) | Number(byte)) >>> 0, 0)

function ipv6Words(address: string): number[] {
  const [head = '', tail] = address.split('::')
  const groups = (text: string): number[] =>
    text === '' ? [] : text.split(':').map(group => Number.parseInt(group, 16))
  const [first, last] = [groups(head), groups(tail ?? '')]
  const all = [...first, ...Array<number>(Math.max(0, 8 - first.length - last.length)).fill(0), ...last]
  return [0, 1, 2, 3].map(n => ((all[2 * n]! << 16) | all[2 * n + 1]!) >>> 0)
}

/** Ends with no when the address is in the prefix. */
function unlessIn(prefix: string, offset: number): Instruction[] {
  const words = wordsOf(prefix)
  if (words.length === 0) return [[RETURN, 0, 0, NO]]
  // Each word is three instructions; one that differs goes past the last and its return.
  return words.flatMap(({ at, mask, value }, index): Instruction[] => {
    const rest = (words.length - index - 1) * 3 + 1
    return [
      [LOAD_WORD, 0, 0, offset + at],
      [AND, 0, 0, mask],
      [JUMP_IF_EQUAL, 0, rest, value],
      ...(index === words.length - 1 ? ([[RETURN, 0, 0, NO]] as Instruction[]) : [])
    ]
  })
}

/** Ends with no when the address is not in the prefix. */
function onlyIn(prefix: string, offset: number): Instruction[] {
  return wordsOf(prefix).flatMap(({ at, mask, value }): Instruction[] => [
    [LOAD_WORD, 0, 0, offset + at],
    [AND, 0, 0, mask],
    [JUMP_IF_EQUAL, 1, 0, value],
    [RETURN, 0, 0, NO]
  ])
}
