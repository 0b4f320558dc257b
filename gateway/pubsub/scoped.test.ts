import assert from 'node:assert/strict'
import { TENANT_TOPIC } from '../../node/index.ts'
import { nameScope } from '../middleware/own-namespace.ts'
import type { Channel } from './channel.types.ts'
import { TopicInvalidError } from './errors.ts'
import type { Pubsub } from './pubsub.ts'
import { scopedPubsub } from './scoped.ts'

/** The name that gateways gossip under, of what a tenant calls a topic. */
function innerOf(namespace: string, topic: string): string {
  let inner = ''
  const channel: Pubsub['channel'] = asked => {
    inner = asked.inner
    return {} as Channel
  }
  scopedPubsub({ channel } as Pubsub, nameScope(namespace)).channel(topic)
  return inner
}

const letters = Array.from({ length: 0x180 }, (_, code) => String.fromCharCode(code))

describe('a tenant’s topics', () => {
  it('are followed by relays, whatever a namespace and a topic may be called', () => {
    assert.match(innerOf('a', 'b'), TENANT_TOPIC)
    assert.match(innerOf('a'.repeat(64), 'b'.repeat(256)), TENANT_TOPIC)
    let allowed = 0
    for (const letter of letters) {
      let inner: string
      try {
        inner = innerOf('a', letter)
      } catch (error) {
        if (!(error instanceof TopicInvalidError) && letter !== '') throw error
        continue
      }
      allowed += 1
      assert.match(inner, TENANT_TOPIC, letter)
    }
    assert.equal(allowed, 26 + 26 + 10 + 4)
    for (const letter of [...'azAZ09']) assert.match(innerOf(`${letter}_-`, 'b'), TENANT_TOPIC)
  })

  it('are followed in no other spelling', () => {
    for (const name of ['ns::a::', 'ns::a::b::c', 'ns::::b', `ns::${'a'.repeat(65)}::b`, `ns::a::${'b'.repeat(257)}`]) {
      assert.doesNotMatch(name, TENANT_TOPIC)
    }
  })
})
