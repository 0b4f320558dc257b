import assert from 'node:assert/strict'
import { seconds, showProgress } from './progress.ts'

describe('progress', () => {
  it('is plain lines where nobody watches live', () => {
    let text = ''
    const progress = showProgress({ write: chunk => (text += chunk) })
    const ended = progress.stage('Lay out')
    progress.note('news')
    ended('12 hosts')
    ended()
    progress.close()
    assert.match(text, /^ {4}news\n\[ *0\.\d s\] Lay out \(0\.\d s\) 12 hosts\n$/)
  })

  it('says times as people do', () => {
    assert.equal(seconds(1234), '1.2 s')
    assert.equal(seconds(61_500), '1 min 1.5 s')
  })
})
