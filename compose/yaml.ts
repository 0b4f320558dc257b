/** Compose documents as YAML: `x-name` becomes an anchor, `<<: '*name'` an alias merged in. */
import { Document, isMap, isScalar, isSeq, type Pair, type Scalar, visit } from 'yaml'

const LINE_WIDTH = 0
const EXTENSION = 'x-'

/**
 * YAML text of a document, comment lines first.
 * @throws when a merge names no `x-` key of the document
 */
export function toYaml(value: Record<string, unknown>, comments: string[]): string {
  // Read by parsers of YAML 1.1 too: what they take for a boolean or a number is quoted.
  const document = new Document(value, { compat: 'yaml-1.1', aliasDuplicateObjects: false })
  document.commentBefore = comments.map(line => ` ${line}`).join('\n')
  const top = document.contents
  if (!isMap(top)) throw new TypeError('a Compose document is a mapping')
  for (const pair of top.items as Array<Pair<Scalar<string>, unknown>>) {
    if (pair.key.value.startsWith(EXTENSION) && isMap(pair.value)) {
      pair.value.anchor = pair.key.value.slice(EXTENSION.length)
    }
    pair.key.spaceBefore = pair !== top.items[0]
  }
  visit(document, {
    Pair(_, pair) {
      if (!isScalar(pair.key) || pair.key.value !== '<<' || !isScalar(pair.value)) return
      const name = String(pair.value.value).slice(1)
      pair.value = document.createAlias(document.get(EXTENSION + name, true) as never, name)
    },
    // Short lists of words read better on one line.
    Seq(_, seq) {
      if (isSeq(seq) && seq.items.length <= 2 && seq.items.every(item => isScalar(item))) seq.flow = true
    }
  })
  const text = document.toString({ lineWidth: LINE_WIDTH, flowCollectionPadding: false })
  // The writer quotes the merge key for YAML 1.1's sake, and a quoted one does not merge.
  return text.replaceAll(/^( *)['"]<<['"]: \*/gm, '$1<<: *')
}
