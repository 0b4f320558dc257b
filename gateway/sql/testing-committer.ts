/** A child that dies when its COMMIT has begun: the moment that no test can catch a real one in. */
import { readSync, writeSync } from 'node:fs'
import { COMMITTING, frame, READY } from './frames.ts'

writeSync(1, frame(READY))
readSync(0, Buffer.alloc(1))
writeSync(1, frame(COMMITTING))
process.kill(process.pid, 'SIGKILL')
