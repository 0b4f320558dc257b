import assert from 'node:assert/strict'
import { heldAll } from './inject.ts'
import { keptAll } from './kill.ts'
import { keptAllOver } from './kill-node.ts'

const killed = {
  ...{ kills: 3, acknowledged: 9, deleted: 2, pinned: 1, lost: 0, lostPins: 0, cameBack: 0, wrong: 0, torn: 0 },
  ...{ setAside: 0, sweptFolders: 1, leftFolders: 0, unacknowledged: 1, seconds: 1 }
}
const injected = {
  ...{ runs: 4, hits: 4, misses: 1, hitsByCall: {}, acknowledged: 9, refused: 2, died: 1, sweptFolders: 0 },
  ...{ problems: [] as string[], seconds: 1 }
}

describe('the verdict on faults', () => {
  it('is good only where every promise was kept', () => {
    assert.ok(keptAll(killed) && keptAllOver(killed) && heldAll(injected))
    for (const what of ['lost', 'lostPins', 'cameBack', 'wrong', 'torn', 'leftFolders']) {
      assert.equal(keptAll({ ...killed, [what]: 1 }), false, what)
    }
    for (const what of ['lost', 'lostPins', 'setAside', 'leftFolders']) {
      assert.equal(keptAllOver({ ...killed, [what]: 1 }), false, what)
    }
    assert.equal(heldAll({ ...injected, problems: ['a blob is wrong'] }), false)
    assert.equal(heldAll({ ...injected, hits: 0 }), false)
  })

  it('is never good of nothing: no kill, no run, nothing acknowledged', () => {
    for (const none of [{ kills: 0 }, { acknowledged: 0 }]) {
      assert.equal(keptAll({ ...killed, ...none }), false)
      assert.equal(keptAllOver({ ...killed, ...none }), false)
    }
    for (const none of [{ runs: 0, hits: 0 }, { acknowledged: 0 }]) {
      assert.equal(heldAll({ ...injected, ...none }), false)
    }
  })
})
