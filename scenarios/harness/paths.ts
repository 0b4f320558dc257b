/** Where the harness keeps things. */
import { join, resolve } from 'node:path'

/** Root of the tree. */
export const ROOT = resolve(import.meta.dirname, '../..')

/** All runs of this tree: `.testnet/<run>/…`. Overridable so that tests do not meet a person's testnet. */
export const TESTNET_FOLDER = process.env.WARREN_TESTNET_DIR ?? join(ROOT, '.testnet')

/** Reports of scenarios: `reports/<scenario>/<runtime>/…`. */
export const REPORTS_FOLDER = process.env.WARREN_REPORTS_DIR ?? join(ROOT, 'reports')

/** Name of the link to the folder of the testnet that is up. */
export const CURRENT_LINK = join(TESTNET_FOLDER, 'current')

/** In a run's folder: packets and tables of its networks. */
export const CAPTURES_FOLDER = 'captures'

/** Where bundled programs keep Node's cache of compiled code. */
export const CODE_CACHE_FOLDER = join(ROOT, 'dist', 'cache')
