/**
 * Shards: buckets of the id space. Pure. shard = first 48 bits of SHA-256(CID text), big-endian, mod SHARD_COUNT.
 */
import { createHash } from 'node:crypto'

/** Shards from `start` to `end`, both included. */
export interface ShardRange {
  start: number
  end: number
}

/** Largest SHARD_COUNT accepted; 2^48 hash values over more buckets than this would no longer be even. */
export const SHARD_COUNT_MAX = 1_048_576
/** Most ranges one node may own; the registry stores them on chain. */
export const SHARD_RANGES_MAX = 1024

/** The shard of a canonical CID text, 0 to shardCount − 1. */
export function shardOf(cid: string, shardCount: number): number {
  return createHash('sha256').update(cid, 'utf8').digest().readUIntBE(0, 6) % shardCount
}

/** Whether one of the ranges has the shard. */
export function ownsShard(ranges: readonly ShardRange[], shard: number): boolean {
  return ranges.some(range => range.start <= shard && shard <= range.end)
}

/** What one NODE_SHARDS text says, or everything that is wrong with it. */
export type ParsedShards = { ranges: ShardRange[]; problems: [] } | { ranges: null; problems: [string, ...string[]] }

/**
 * Read NODE_SHARDS in any documented form: `[{"start":0,"end":255}]`, `[0,1,2]`, `0-255`, `0,1,2`, `0-255,512-767`.
 * The ranges come back sorted and merged. Empty text means all shards.
 */
export function parseShards(text: string, shardCount: number): ParsedShards {
  const trimmed = text.trim()
  if (trimmed === '') return { ranges: [{ start: 0, end: shardCount - 1 }], problems: [] }
  const items = trimmed.startsWith('[') ? jsonItems(trimmed) : textItems(trimmed)
  const problems: string[] = []
  const ranges: ShardRange[] = []
  for (const item of items) {
    if (typeof item === 'string') {
      problems.push(item)
      continue
    }
    const { start, end } = item
    if (start > end) problems.push(`the range ${start}-${end} starts behind its end`)
    else if (end >= shardCount) problems.push(`shard ${end} is not below SHARD_COUNT ${shardCount}`)
    else ranges.push(item)
  }
  const merged = mergeRanges(ranges)
  if (problems.length === 0 && merged.length === 0) problems.push('it names no shard')
  if (merged.length > SHARD_RANGES_MAX) problems.push(`it has more than ${SHARD_RANGES_MAX} separate ranges`)
  const [first, ...rest] = problems
  return first === undefined ? { ranges: merged, problems: [] } : { ranges: null, problems: [first, ...rest] }
}

/** Sort ranges and join those that touch or overlap. */
export function mergeRanges(ranges: readonly ShardRange[]): ShardRange[] {
  const merged: ShardRange[] = []
  for (const range of [...ranges].sort((a, b) => a.start - b.start)) {
    const last = merged.at(-1)
    if (last && range.start <= last.end + 1) last.end = Math.max(last.end, range.end)
    else merged.push({ start: range.start, end: range.end })
  }
  return merged
}

function jsonItems(text: string): Array<ShardRange | string> {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch {
    return ['it begins like JSON but is not']
  }
  if (!Array.isArray(parsed)) return ['it is JSON but not a list']
  return parsed.map((item: unknown) => {
    if (isShard(item)) return { start: item, end: item }
    if (typeof item === 'object' && item !== null && 'start' in item && 'end' in item) {
      const { start, end } = item
      if (isShard(start) && isShard(end)) return { start, end }
    }
    return `${JSON.stringify(item)} is neither a shard number nor {"start":…,"end":…}`
  })
}

function textItems(text: string): Array<ShardRange | string> {
  return text.split(',').map(part => {
    const match = /^\s*(\d{1,9})(?:\s*-\s*(\d{1,9}))?\s*$/.exec(part)
    if (!match) return `"${part.trim()}" is neither a shard number nor a range like 0-255`
    return { start: Number(match[1]), end: Number(match[2] ?? match[1]) }
  })
}

function isShard(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}
