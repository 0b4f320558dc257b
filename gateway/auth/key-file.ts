/**
 * The key file of a data directory, `auth-keys.json`: made once however many gateways start at one time, read again when
 * another gateway has changed it, for this user only.
 */
import { statSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { KEY_FILE_LOOK_MS } from '../constants.ts'
import { makeOnce, replaceWhole } from '../key-files.ts'
import type { TokenKey } from './jwt.ts'
import {
  activeFrom,
  isRotationDue,
  type KeyRing,
  newKey,
  newRing,
  type RingKey,
  readRing,
  signingKey,
  verifyingKeys,
  withNextKey,
  writeRing
} from './key-ring.ts'

const KEY_FILE = 'auth-keys.json'

export interface KeyFileOptions {
  dataDir: string
  /** Age at which a key gets its successor. */
  rotateAfterMs: number
  /** Runs the work while no other gateway of the directory does, and tells them afterwards that something changed. */
  exclusively: (work: () => Promise<void>) => Promise<void>
  onError: (error: unknown) => void
  now?: () => number
}

export interface KeyFile {
  /** The ring; made when there is none yet. */
  ring: () => Promise<KeyRing>
  /** The key that signs now. Sees to a successor when one is due. */
  signing: () => Promise<RingKey>
  /** By header, those whose tokens may be good; never makes a key. */
  verifying: () => Promise<ReadonlyMap<string, TokenKey>>
  /** Looks whether another gateway has changed the file. Cheap. */
  look: () => Promise<void>
}

export function createKeyFile(options: KeyFileOptions): KeyFile {
  const { dataDir, rotateAfterMs, exclusively, onError, now = Date.now } = options
  const path = join(dataDir, KEY_FILE)
  let ring: KeyRing | null = null
  /** What the file was when it was read: another file has another inode, since it is only ever replaced. */
  let seen = ''
  let lookedAtMs = Number.NEGATIVE_INFINITY
  let making: Promise<KeyRing> | null = null
  let rotating: Promise<void> | null = null
  let known: { ring: KeyRing; untilMs: number; keys: ReadonlyMap<string, TokenKey> } | null = null

  function signature(): string {
    const stat = statSync(path, { throwIfNoEntry: false, bigint: true })
    return stat === undefined ? '' : `${stat.ino} ${stat.mtimeNs} ${stat.size}`
  }

  async function read(): Promise<KeyRing | null> {
    const found = signature()
    if (found === '') return null
    if (ring !== null && found === seen) return ring
    ring = readRing(await readFile(path, 'utf8'), path)
    seen = found
    return ring
  }

  async function make(): Promise<KeyRing> {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    await makeOnce(path, writeRing(await newRing(now())))
    return (await read()) as KeyRing
  }

  async function current(): Promise<KeyRing> {
    if (ring !== null) return ring
    const found = await read()
    if (found !== null) return found
    making ??= make().finally(() => {
      making = null
    })
    return await making
  }

  const isDue = (found: KeyRing) => isRotationDue(found, now(), rotateAfterMs)

  /** Announces a next key. */
  async function addKey(): Promise<void> {
    const key = await newKey(now(), activeFrom(now()))
    await exclusively(async () => {
      const before = (await read()) ?? (await current())
      // Another gateway may have been first.
      if (!isDue(before)) return
      await replaceWhole(path, writeRing(withNextKey(before, key, now())))
      await read()
    })
  }

  return {
    ring: current,
    async signing() {
      const found = await current()
      if (isDue(found) && rotating === null) {
        rotating = addKey()
          .catch(onError)
          .finally(() => {
            rotating = null
          })
      }
      return signingKey(found, now())
    },
    async verifying() {
      const found = ring ?? (await read())
      if (found === null) return new Map()
      if (known?.ring !== found || now() >= known.untilMs) {
        known = {
          ring: found,
          untilMs: now() + KEY_FILE_LOOK_MS,
          keys: new Map(verifyingKeys(found, now()).map(key => [key.header, key]))
        }
      }
      return known.keys
    },
    async look() {
      if (now() - lookedAtMs < KEY_FILE_LOOK_MS && now() >= lookedAtMs) return
      lookedAtMs = now()
      await read()
    }
  }
}
