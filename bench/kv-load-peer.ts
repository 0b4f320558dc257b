/** The load of `kv-load.ts` in a process of its own. */
import { type KvLoadOrder, kvLoad } from './kv-load.ts'
import { obeyOrders } from './peers.ts'

obeyOrders<KvLoadOrder>(kvLoad)
