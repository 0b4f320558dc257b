/** Values from before they were sealed: sealed at the start, in bounded transactions, and no copy of them left behind. */
import type { Log } from '../../node/index.ts'
import { SEALING_BATCH_ROWS } from '../constants.ts'
import type { Sealer } from './seal.ts'
import type { Statements } from './statements.ts'

const OLD = `SELECT rowid AS id, namespace, key, sealed, sealed_cid FROM kv_storage WHERE form = 0 LIMIT ?`
// The form again: another gateway may have sealed or replaced the row meanwhile.
const SEAL = 'UPDATE kv_storage SET sealed = ?, sealed_cid = ?, form = 1 WHERE rowid = ? AND form = 0'

interface OldRow {
  id: number
  namespace: string
  key: string
  sealed: Buffer | null
  sealed_cid: string | null
}

export interface SealOldOptions {
  statements: Statements
  sealer: Sealer
  /** Rebuilds the database file, so that nothing deleted is left in it. */
  vacuum: () => Promise<void>
  log: Pick<Log, 'info' | 'warn'>
}

/**
 * Resolves when every row is sealed; may be broken off at any time and goes on at the next start.
 * @throws what the database throws, SQLITE_FULL say: sealed values are a little longer
 */
export async function sealOldValues({ statements, sealer, vacuum, log }: SealOldOptions): Promise<void> {
  const state = await statements.get<{ may_hold_plain: number }>('SELECT may_hold_plain FROM value_sealing', [])
  if (state?.may_hold_plain !== 1) return
  let count = 0
  for (;;) {
    const rows = await statements.all<OldRow>(OLD, [SEALING_BATCH_ROWS])
    if (rows.length === 0) break
    await statements.batch(
      rows.map(row => {
        const { namespace, key: name } = row
        const value = row.sealed === null ? null : sealer.seal(row.sealed, { kind: 'value', namespace, name })
        const cid =
          row.sealed_cid === null
            ? null
            : sealer.seal(Buffer.from(row.sealed_cid), { kind: 'cid', namespace, name }).toString('base64url')
        return { sql: SEAL, parameters: [value, cid, row.id] }
      })
    )
    count += rows.length
  }
  log.info({ count }, 'values from before were sealed')
  try {
    await vacuum()
  } catch (error) {
    log.warn(
      { err: error },
      'free pages of the database may still hold values from before: tried again at the next start'
    )
    return
  }
  await statements.run('UPDATE value_sealing SET may_hold_plain = 0', [])
}
