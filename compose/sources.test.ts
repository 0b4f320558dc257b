import assert from 'node:assert/strict'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { inPlace } from './sources.ts'

/** What an expression gives when a bundle directly in `dist/` evaluates it. */
function evaluated(text: string): unknown {
  const dist = join(process.cwd(), 'dist')
  const meta = { url: pathToFileURL(join(dist, 'node.main.js')).href, dirname: dist }
  return new Function('meta', `return ${text.replaceAll('import.meta', 'meta')}`)(meta)
}

describe('bundled sources', () => {
  const path = 'gateway/page/index.ts'

  it('find what lies beside them where the assets are copied', () => {
    const url = evaluated(inPlace("new URL('./page.html', import.meta.url).href", path))
    assert.equal(url, pathToFileURL(join(process.cwd(), 'dist/gateway/page/page.html')).href)
    assert.equal(evaluated(inPlace('import.meta.dirname', path)), join(process.cwd(), 'dist/gateway/page'))
    assert.equal(evaluated(inPlace('import.meta.filename', path)), join(process.cwd(), 'dist', path))
  })

  it('are otherwise untouched', () => {
    assert.equal(inPlace('import.meta.main', path), 'import.meta.main')
  })
})
