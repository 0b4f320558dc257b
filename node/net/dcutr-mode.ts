/** How relayed connections become direct ones. */
export const DCUTR_MODES = ['warren', 'stock', 'off'] as const
/**
 * `warren`: our DCUtR over transports that punch. `stock`: js-libp2p's service and transports as they come, to compare
 * with. `off`: stock transports, and relayed connections stay relayed.
 */
export type DcutrMode = (typeof DCUTR_MODES)[number]
