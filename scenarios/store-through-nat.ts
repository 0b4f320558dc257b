/** A real file goes in through the gateway and outlives dead and spoiled disks, across NATs. */
import { testnet } from '../netem/index.ts'
import { flipByte, sealedHash } from './harness/blob-files.ts'
import { type Fetched, gatewayGet, gatewayPut, retrieve } from './harness/http-api.ts'
import type { Host } from './harness/runtime.ts'
import { scenario } from './harness/scenario.ts'

const FILE_BYTES = 5 << 20
const REPLICAS = 3
const REPLICATED_WITHIN_MS = 60_000
const READ_WITHIN_MS = 60_000
const NOTICED_WITHIN_MS = 60_000

export default scenario({
  about:
    'a 5 MiB file put through the gateway is read behind other NATs, with two of three holders dead and one disk spoiled',
  topology: testnet,
  needs: ['nat', 'kill', 'exec'],
  withinMs: 300_000,

  async story({ endpoints, hosts, nemesis, check, random, history, step, signal }) {
    const nodes = hosts('node')
    const [gateway] = endpoints.gateways
    const file = random.bytes(FILE_BYTES)
    const names = (list: Host[]): string[] => list.map(({ planned }) => planned.name)
    const read = async (host: Host): Promise<Fetched> =>
      await history.operation(
        'retrieve',
        { from: host.planned.name, cid },
        async () => await retrieve(host, cid, signal),
        ({ status, bytes }) => ({ status, bytes: bytes.length })
      )
    const readGateway = async (): Promise<Fetched> =>
      await history.operation(
        'get',
        { from: gateway },
        async () => await gatewayGet(gateway!, endpoints.apiKey, 'file', signal),
        ({ status, bytes }) => ({ status, bytes: bytes.length })
      )
    const isFile = ({ status, bytes }: Fetched): boolean => status === 200 && bytes.equals(file)

    step('put through the gateway')
    const put = await history.operation(
      'put',
      { bytes: file.length },
      async () => await gatewayPut(endpoints, 'file', file, signal),
      answer => answer
    )
    check.equal(
      'the gateway says what it stored',
      { status: put.status, key: put.key, size: put.size },
      { status: 'ok', key: 'file', size: FILE_BYTES }
    )
    check.that('a value over 64 KiB gets a CID', /^bafybei[a-z2-7]+$/.test(put.cid ?? ''), put.cid)
    const cid = put.cid ?? ''

    step('replicate')
    const holdersNow = async (): Promise<Host[]> => {
      const hashes = await Promise.all(nodes.map(async node => await sealedHash(node, cid)))
      return nodes.filter((_, index) => hashes[index] !== null)
    }
    const held = await check.eventually(
      `${REPLICAS} nodes hold it`,
      async () => names(await holdersNow()),
      list => list.length >= REPLICAS,
      { withinMs: REPLICATED_WITHIN_MS }
    )
    const holders = nodes.filter(({ planned }) => held.includes(planned.name))

    step('read in another home')
    const homes = new Set(holders.map(({ planned }) => planned.nat))
    const others = nodes.filter(node => node.planned.nat !== null && !holders.includes(node))
    // A home without any holder if there is one, so that every byte crosses its NAT.
    const [reader, second] = [...others].sort(
      (a, b) => Number(homes.has(a.planned.nat)) - Number(homes.has(b.planned.nat))
    )
    if (reader === undefined || second === undefined)
      return check.unknown('two NATed nodes do not hold it', `only ${names(others).join(', ')}`)
    await check.eventually(
      `${reader.planned.name} reads it byte for byte`,
      async () => sizeOf(await read(reader), isFile),
      ({ same }) => same,
      { withinMs: READ_WITHIN_MS }
    )

    step('lose two of three holders')
    const [kept, ...lost] = random.pick(holders, REPLICAS)
    await nemesis.kill(names(lost))
    await check.eventually(
      `${second.planned.name} still reads it`,
      async () => sizeOf(await read(second), isFile),
      ({ same }) => same,
      { withinMs: READ_WITHIN_MS }
    )
    await check.eventually(
      'the gateway still reads it',
      async () => sizeOf(await readGateway(), isFile),
      ({ same }) => same,
      { withinMs: READ_WITHIN_MS }
    )

    step('spoil the last holder')
    const spoiled = await history.operation('flip a byte', kept!.planned.name, async () => await flipByte(kept!, cid))
    const seen: Fetched[] = []
    await check.eventually(
      `${kept!.planned.name} notices the flipped byte`,
      async () => {
        seen.push(await read(kept!))
        return await sealedHash(kept!, cid)
      },
      hash => hash !== spoiled,
      { withinMs: NOTICED_WITHIN_MS }
    )
    // Side by side: each looks for a holder until its own deadline, since nobody has the file now.
    seen.push(...(await Promise.all(nodes.filter(each => !lost.includes(each)).map(read))))
    const wrong = seen.filter(
      ({ status, bytes, isWhole }) =>
        status === 200 && !(isWhole ? bytes.equals(file) : bytes.equals(file.subarray(0, bytes.length)))
    )
    check.equal('the flipped byte is never served', wrong.length, 0)

    step('the lost come back')
    await nemesis.undoAll()
    for (const node of [kept!, reader]) {
      await check.eventually(
        `${node.planned.name} reads it again`,
        async () => sizeOf(await read(node), isFile),
        ({ same }) => same,
        { withinMs: READ_WITHIN_MS }
      )
    }
  }
})

/** What a check shows of a transfer. */
function sizeOf(
  fetched: Fetched,
  isFile: (fetched: Fetched) => boolean
): { status: number; bytes: number; same: boolean } {
  return { status: fetched.status, bytes: fetched.bytes.length, same: isFile(fetched) }
}
