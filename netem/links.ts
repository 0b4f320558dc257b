/** Reading a link as an author may write it. Pure. */
import type { PlannedLink } from './plan.types.ts'
import type { Impairment, LinkSpec } from './topology.ts'

/** Whether a link was written per direction. */
export function isLinkSpec(link: Impairment | LinkSpec): link is LinkSpec {
  return 'up' in link || 'down' in link
}

/** Whether an impairment changes anything at all. */
export function impairs(impairment: Impairment | null | undefined): impairment is Impairment {
  return (
    impairment !== null && impairment !== undefined && Object.values(impairment).some(value => (value as number) > 0)
  )
}

/** The link per direction, null where it is perfect. A plain impairment counts for both directions. */
export function readLink(link: Impairment | LinkSpec | undefined): PlannedLink {
  if (link === undefined) return { up: null, down: null }
  const { up, down } = isLinkSpec(link) ? link : { up: link, down: link }
  return { up: tidy(up), down: tidy(down) }
}

/** Keys in one order and without those that do nothing, so that the same link is the same bytes. */
function tidy(impairment: Impairment | undefined): Impairment | null {
  if (!impairs(impairment)) return null
  const { delayMs, jitterMs, lossPct, rateKbit } = impairment
  return {
    ...(delayMs ? { delayMs } : {}),
    ...(jitterMs ? { jitterMs } : {}),
    ...(lossPct ? { lossPct } : {}),
    ...(rateKbit ? { rateKbit } : {})
  }
}
