/** Whether an answer proves what was asked: pure functions over the answer, for whoever asked. */
import { checkLeafPayload } from './leaves.ts'
import { challengedHash, checkStatement, type Expected, faulty, type ProofStatement } from './statement.ts'

type Source = AsyncIterable<Uint8Array> | Iterable<Uint8Array>

/**
 * Check a proof over the whole blob with a replica of one's own.
 * @param open gives the replica's bytes; called only when all else holds
 * @throws ProofInvalidError; and what reading the replica throws
 */
export async function verifyWhole(given: unknown, expected: Expected, open: () => Source): Promise<ProofStatement> {
  const statement = checkStatement(given, expected)
  const { bytesHash, sizeBytes } = await challengedHash(statement.challenge, open())
  if (sizeBytes !== statement.sizeBytes) throw faulty('SIZE_WRONG', 'it names another size than the blob has')
  if (bytesHash !== statement.bytesHash) throw faulty('BYTES_WRONG', 'its hash is not that of the blob’s bytes')
  return statement
}

/**
 * Check a proof by leaves with the CID alone.
 * @param blocks what came with the statement
 * @throws ProofInvalidError; and what reading the blocks throws
 */
export async function verifyLeaves(given: unknown, expected: Expected, blocks: Source): Promise<ProofStatement> {
  const statement = checkStatement(given, expected)
  const bytesHash = await checkLeafPayload(statement, blocks)
  if (bytesHash !== statement.bytesHash) throw faulty('BYTES_WRONG', 'its hash is not that of the blocks it brings')
  return statement
}
