/** Whether a NAT that forgot its mappings gives the same outer ports again. Pure but for what it is handed. */

/** Looks after the first; a computed port that another flow holds is not to be had, however honest the NAT. */
const LOOKS_AGAIN = 3

/** `looks` holds the outer ports of each look, in the order of the reflectors. */
export interface ComeAgain {
  verdict: 'same' | 'other' | 'unknown'
  looks: number[][]
}

/**
 * Look, let the NAT forget, look again. `same` as soon as two looks agree in every port: drawn ports do so once in
 * 64,000 times. `other` when none of `LOOKS_AGAIN` did, `unknown` when a look has not `wanted` ports.
 */
export async function comeAgain(
  look: () => Promise<number[]>,
  forget: () => Promise<unknown>,
  wanted: number
): Promise<ComeAgain> {
  const looks = [await look()]
  for (let n = 0; n < LOOKS_AGAIN; n++) {
    if (looks.some(ports => ports.length !== wanted)) return { verdict: 'unknown', looks }
    await forget()
    const ports = await look()
    const isSame = looks.some(before => before.join() === ports.join())
    looks.push(ports)
    if (isSame) return { verdict: 'same', looks }
  }
  return { verdict: looks.some(ports => ports.length !== wanted) ? 'unknown' : 'other', looks }
}
