/** Where everything of the picture goes: the internet in the middle, NATs on both sides. Pure; units are SVG's. */
import type { HostView, NetworkView } from '../network/hosts.types.ts'

export interface Box {
  x: number
  y: number
  width: number
  height: number
}

export interface Point {
  x: number
  y: number
}

export interface PlacedHost extends Box {
  host: HostView
  /** Where its packets pass the edge of its NAT; null on the internet. */
  door: Point | null
}

export interface PlacedNat extends Box {
  name: string
  kind: string | null
  side: 'left' | 'right'
  /** Its access line, and the end of it that is its door. */
  line: { x1: number; x2: number; y: number; door: number }
}

export interface Layout {
  width: number
  height: number
  internet: Box
  nats: readonly PlacedNat[]
  hosts: readonly PlacedHost[]
}

const WIDTH = 1280
const MARGIN = 14
const CHIP = { width: 156, height: 46, gap: 10 } as const
const PAD = 14
const HEAD = 44
const NAT_WIDTH = 2 * CHIP.width + CHIP.gap + 2 * PAD
/** Between the two columns of the internet's hosts, so that their paths are seen. */
const INTERNET_GAP = 84
const INTERNET_WIDTH = 2 * CHIP.width + INTERNET_GAP + 2 * PAD + 24
const GAP_BETWEEN_NATS = 20
/** More hosts than this in one NAT stand in two columns. */
const ONE_COLUMN_MAX = 3

export function layoutOf(view: NetworkView): Layout {
  const open = view.hosts.filter(host => host.nat === null)
  const groups = view.nats.map(nat => ({ nat, members: view.hosts.filter(host => host.nat === nat.name) }))
  const columns = split(groups)
  const internetHeight = HEAD + gridHeight(open.length, 2) + 2 * PAD
  const heights = columns.map(column =>
    column.reduce((sum, group) => sum + natHeight(group.members.length) + GAP_BETWEEN_NATS, -GAP_BETWEEN_NATS)
  )
  const height = Math.max(internetHeight, ...heights, 160) + 2 * MARGIN
  const internet: Box = {
    x: (WIDTH - INTERNET_WIDTH) / 2,
    y: MARGIN,
    width: INTERNET_WIDTH,
    height: height - 2 * MARGIN
  }
  const hosts = grid(open, internet, { columns: 2, down: (internet.height - internetHeight) / 2, door: null })
  const nats: PlacedNat[] = []
  for (const [index, column] of columns.entries()) {
    const side = index === 0 ? 'left' : 'right'
    let y = (height - Math.max(0, heights[index] as number)) / 2
    for (const { nat, members } of column) {
      const box: Box = {
        x: side === 'left' ? MARGIN : WIDTH - MARGIN - NAT_WIDTH,
        y,
        width: NAT_WIDTH,
        height: natHeight(members.length)
      }
      const middle = y + box.height / 2
      const line =
        side === 'left'
          ? { x1: box.x + box.width, x2: internet.x, y: middle, door: box.x + box.width }
          : { x1: internet.x + internet.width, x2: box.x, y: middle, door: box.x }
      nats.push({ ...box, name: nat.name, kind: nat.kind, side, line })
      hosts.push(
        ...grid(members, box, { columns: columnsFor(members.length), down: 0, door: { x: line.door, y: middle } })
      )
      y += box.height + GAP_BETWEEN_NATS
    }
  }
  return { width: WIDTH, height, internet, nats, hosts }
}

/** Fills the shorter side first, so that both are about as tall. */
function split<T extends { members: readonly HostView[] }>(groups: readonly T[]): [T[], T[]] {
  const columns: [T[], T[]] = [[], []]
  const tall: [number, number] = [0, 0]
  for (const group of groups) {
    const index = tall[0] <= tall[1] ? 0 : 1
    columns[index].push(group)
    tall[index] += natHeight(group.members.length) + GAP_BETWEEN_NATS
  }
  return columns
}

function columnsFor(count: number): number {
  return count > ONE_COLUMN_MAX ? 2 : 1
}

function gridHeight(count: number, columns: number): number {
  const rows = Math.max(1, Math.ceil(count / columns))
  return rows * (CHIP.height + CHIP.gap) - CHIP.gap
}

function natHeight(count: number): number {
  return HEAD + gridHeight(count, columnsFor(count)) + PAD
}

function grid(
  hosts: readonly HostView[],
  box: Box,
  { columns, down, door }: { columns: number; down: number; door: Point | null }
): PlacedHost[] {
  const gap = door === null ? INTERNET_GAP : CHIP.gap
  const used = columns * CHIP.width + (columns - 1) * gap
  const left = box.x + (box.width - used) / 2
  return hosts.map((host, index) => ({
    host,
    door,
    x: left + (index % columns) * (CHIP.width + gap),
    y: box.y + HEAD + down + Math.floor(index / columns) * (CHIP.height + CHIP.gap),
    width: CHIP.width,
    height: CHIP.height
  }))
}
