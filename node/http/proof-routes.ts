/** `/proofs`: proofs of storage over HTTP. The README of the room says what they prove and how they are checked. */
import { Readable } from 'node:stream'
import type Router from '@koa/router'
import type { Context } from 'koa'
import { parseCid } from '../blobs/cid.ts'
import { ChallengeInvalidError, RequestInvalidError } from '../errors.ts'
import type { Prover } from '../proofs/prover.ts'
import { type ProofRequest, proofRequest } from '../proofs/statement.ts'
import { jsonWithBytes } from './json-stream.ts'
import { goneSignal } from './request.ts'
import { bodyOf } from './upload.ts'

/** Longest body of a request for a proof, bytes of JSON. */
export const PROOF_BODY_MAX_BYTES = 4096

export interface ProofRoutesOptions {
  prover: Prover
}

/** Add the routes. */
export function addProofRoutes(router: Router, { prover }: ProofRoutesOptions): void {
  const noStore = { 'cache-control': 'no-store' }

  router.post('/proofs/generate', async ctx => {
    const request = await requestOf(ctx)
    const signal = goneSignal(ctx)
    const answer = await prover.prove(request, { signal })
    if (signal.aborted) answer.undelivered()
    else signal.addEventListener('abort', answer.undelivered)
    ctx.set(noStore)
    if (answer.payloadBytes === 0) {
      ctx.body = answer.statement
      return
    }
    ctx.type = 'application/json'
    ctx.body = Readable.from(jsonWithBytes(answer.statement, 'blocks', answer.blocks(signal)), {
      objectMode: false
    })
  })

  router.get('/proofs/:cid', async ctx => {
    const cid = parseCid(ctx.params.cid ?? '')
    const proofs = await prover.saved(cid)
    ctx.set(noStore)
    ctx.body = { cid, count: proofs.length, proofs }
  })

  router.get('/proofs', async ctx => {
    ctx.set(noStore)
    ctx.body = await prover.statistics()
  })
}

async function requestOf(ctx: Context): Promise<ProofRequest> {
  const parts: Uint8Array[] = []
  let sizeBytes = 0
  for await (const part of bodyOf(ctx.req)) {
    sizeBytes += part.length
    if (sizeBytes > PROOF_BODY_MAX_BYTES)
      throw new RequestInvalidError(`The body is over ${PROOF_BODY_MAX_BYTES} bytes.`)
    parts.push(part)
  }
  let json: unknown
  try {
    json = JSON.parse(Buffer.concat(parts).toString('utf8'))
  } catch {
    throw new RequestInvalidError('The body is to be JSON: {"cid": …, "challenge": …}.')
  }
  const parsed = proofRequest.safeParse({ mode: 'whole', ...(json as object | null) })
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  if (issue?.path[0] === 'challenge') throw new ChallengeInvalidError('is no text of that length')
  throw new RequestInvalidError(`"${issue?.path.join('.')}" of the body is wrong: ${issue?.message}.`)
}
