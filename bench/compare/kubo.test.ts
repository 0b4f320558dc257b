import assert from 'node:assert/strict'
import { configured, type KuboConfig } from './kubo.ts'

const fresh = (type: string): KuboConfig => ({
  Addresses: { API: '/ip4/127.0.0.1/tcp/0', Gateway: ['/ip4/127.0.0.1/tcp/0'], Swarm: ['/ip4/127.0.0.1/tcp/0'] },
  Bootstrap: [],
  Datastore: { Spec: { mounts: [{ type, sync: false }, { type: 'levelds' }] } }
})

describe("Kubo's configuration", () => {
  it('listens on loopback for the API alone, and tells nobody what it has', () => {
    const { Addresses, Provide, Bootstrap } = configured(fresh('flatfs'), 4321, false)
    assert.deepEqual(Addresses, { API: '/ip4/127.0.0.1/tcp/4321', Gateway: [], Swarm: [] })
    assert.deepEqual([Provide, Bootstrap], [{ Enabled: false }, []])
  })

  it('has its blocks synced or not, and nothing else of the store changed', () => {
    for (const isSynced of [true, false]) {
      const { mounts } = configured(fresh('flatfs'), 1, isSynced).Datastore.Spec
      assert.deepEqual(mounts, [{ type: 'flatfs', sync: isSynced }, { type: 'levelds' }])
    }
  })

  it('is refused where its blocks are elsewhere: the option would then do nothing', () => {
    assert.throws(() => configured(fresh('pebbleds'), 1, true), /something else than flatfs/)
  })
})
