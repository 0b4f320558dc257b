/** The disk's errors as errors of ours. */
import { StorageFullError, StoreFailedError } from '../errors.ts'
import { errnoOf, isDiskFull } from './durable.ts'

/** Give the disk's errors their names. @throws StorageFullError, StoreFailedError */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (isDiskFull(error)) throw new StorageFullError(`the disk answered ${errnoOf(error)}`, { cause: error })
    if (errnoOf(error)?.startsWith('E')) throw new StoreFailedError(error)
    throw error
  }
}
