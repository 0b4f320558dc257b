import type { NetworkView } from '../network/hosts.types.ts'
export const PAGE_HEADERS: Record<string, string> = {}
export function page(view: NetworkView): string {
  return liveFragment(view)
}
export function liveFragment(view: NetworkView): string {
  return view.at
}
