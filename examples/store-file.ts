/**
 * Stores a file on the network and reads it back from whichever node answers, without a gateway.
 *
 *   node examples/store-file.ts <file> <bootstrap multiaddr>…
 *
 * The multiaddrs end in /p2p/<peer id>; relays and nodes print theirs when they start.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import { createClient } from '../client/index.ts'

/** What was stored, and whether it came back the same. */
export interface StoredFile {
  cid: string
  sizeBytes: number
  /** The node that took it. */
  peerId: string
  same: boolean
}

/** Stores the file and reads it back. */
export async function storeFile(file: string, bootstrapPeers: readonly string[]): Promise<StoredFile> {
  const client = await createClient({ bootstrapPeers })
  try {
    const { size } = await stat(file)
    const stored = await client.storage.put(createReadStream(file), { sizeHint: size })
    const { bytes } = await client.storage.get(stored.cid)
    const [sent, received] = await Promise.all([digestOf(createReadStream(file)), digestOf(bytes)])
    return { ...stored, same: sent === received }
  } finally {
    await client.close()
  }
}

async function digestOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of source) hash.update(chunk)
  return hash.digest('hex')
}

if (import.meta.main) {
  const [file, ...bootstrapPeers] = process.argv.slice(2)
  if (file === undefined || bootstrapPeers.length === 0) {
    process.stderr.write('usage: node examples/store-file.ts <file> <bootstrap multiaddr>…\n')
    process.exit(2)
  }
  const { cid, sizeBytes, peerId, same } = await storeFile(file, bootstrapPeers)
  process.stdout.write(`${cid}: ${sizeBytes} bytes at ${peerId}, read back ${same ? 'the same' : 'DIFFERENT'}\n`)
  process.exitCode = same ? 0 : 1
}
