/** What the benchmark takes of Helia. It is copied beside the installed packages, where it finds them. */
export { unixfs } from '@helia/unixfs'
export { FsBlockstore } from 'blockstore-fs'
export { FsDatastore } from 'datastore-fs'
export { createHeliaLight } from 'helia'
export { CID } from 'multiformats/cid'
