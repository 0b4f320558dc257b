import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import Koa from 'koa'
import { credentialOfUpgrade } from './credential.ts'

describe('the credential of a socket', () => {
  const app = new Koa()
  app.use(credentialOfUpgrade)
  app.use(context => {
    const { url, originalUrl, req } = context
    const { authorization = null, 'sec-websocket-protocol': protocols = null } = req.headers
    context.body = { url, originalUrl, reqUrl: req.url, authorization, protocols }
  })
  const server = createServer(app.callback())
  before(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  after(() => server.close())

  async function seen(path: string, headers: Record<string, string> = {}) {
    const { port } = server.address() as AddressInfo
    const answer = await fetch(`http://127.0.0.1:${port}${path}`, { headers })
    const { url, originalUrl, reqUrl, ...rest } = (await answer.json()) as Record<string, string | null>
    assert.deepEqual([originalUrl, reqUrl], [url, url])
    return { url, ...rest }
  }

  it('becomes a header, and is nowhere else any more', async () => {
    const bearer = { authorization: 'Bearer s3cret', protocols: null }
    assert.deepEqual(await seen('/ws?topic=t&token=s3cret'), { url: '/ws?topic=t', ...bearer })
    assert.deepEqual(await seen('/ws?api_key=s3cret&topic=a%2Fb'), { url: '/ws?topic=a%2Fb', ...bearer })
    assert.deepEqual(await seen('/ws?%74oken=s3cret'), { url: '/ws', ...bearer })
    assert.deepEqual(await seen('/ws?token=s3cret&token=other&api_key=third&topic=t'), {
      url: '/ws?topic=t',
      ...bearer
    })
    const offer = `warren.pubsub.v1, warren.credential.${Buffer.from('s3cret').toString('base64url')}`
    assert.deepEqual(await seen('/ws?topic=t', { 'Sec-WebSocket-Protocol': offer }), {
      url: '/ws?topic=t',
      authorization: 'Bearer s3cret',
      protocols: 'warren.pubsub.v1'
    })
  })

  it('gives way to a header, and is taken out all the same', async () => {
    const headers = { Authorization: 'ApiKey mine' }
    const mine = { url: '/ws?topic=t', authorization: 'ApiKey mine', protocols: null }
    assert.deepEqual(await seen('/ws?topic=t&token=s3cret', headers), mine)
    const offer = { ...headers, 'Sec-WebSocket-Protocol': 'warren.credential.czNjcmV0' }
    assert.deepEqual(await seen('/ws?topic=t', offer), mine)
    assert.deepEqual(await seen('/ws?topic=t&token=s3cret', { 'X-API-Key': 'mine' }), { ...mine, authorization: null })
  })

  it('is none where there is none', async () => {
    const none = { authorization: null, protocols: null }
    assert.deepEqual(await seen('/ws?topic=t&tokens=x'), { url: '/ws?topic=t&tokens=x', ...none })
    assert.deepEqual(await seen('/ws?topic=t&token='), { url: '/ws?topic=t', ...none })
  })
})
