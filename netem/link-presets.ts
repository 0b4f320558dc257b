/**
 * Links by name, with what their figures are taken from. Delays are half of a round trip in each direction. Where a source
 * has no spread or loss, ours are said to be ours: small ones that such links are known to have.
 */
import type { Impairment } from './topology.ts'

export type LinkPreset = 'lan' | 'fibre' | 'dsl' | 'wifi' | 'wifi-bad' | 'mobile-4g' | 'mobile-3g' | 'satellite'

/** Both directions of each preset, seen from its owner. */
export const LINK_PRESETS: Readonly<Record<LinkPreset, { up: Impairment; down: Impairment }>> = {
  // Gigabit Ethernet (IEEE 802.3ab) through a switch: a full frame takes 12 µs, the rest of the delay is ours.
  lan: {
    up: { delayMs: 0.2, rateKbit: 1_000_000 },
    down: { delayMs: 0.2, rateKbit: 1_000_000 }
  },
  // FCC, "Measuring Broadband America", fixed broadband: idle round trips over fibre of about 10 ms, loss under 0.1 %. The
  // rate is that of a common symmetric plan, the spread is ours.
  fibre: {
    up: { delayMs: 5, jitterMs: 0.5, rateKbit: 300_000 },
    down: { delayMs: 5, jitterMs: 0.5, rateKbit: 300_000 }
  },
  // The same reports: idle round trips over DSL of about 30 ms, loss of the order of 0.1 %. Rates as VDSL2 (ITU-T G.993.2,
  // profile 17a) is sold. Buffers of a large fraction of a second: Gettys and Nichols, "Bufferbloat", ACM Queue 2011.
  dsl: {
    up: { delayMs: 15, jitterMs: 2, distribution: 'normal', lossPct: 0.1, rateKbit: 10_000, limitPackets: 500 },
    down: { delayMs: 15, jitterMs: 2, distribution: 'normal', lossPct: 0.1, rateKbit: 50_000, limitPackets: 1500 }
  },
  // Sui et al., "Characterizing and Improving WiFi Latency in Large-Scale Operational Networks", MobiSys 2016: the Wi-Fi hop
  // takes 3 ms in the median, 20 ms at the 90th percentile. The rate is that of a home's 802.11ac, loss is ours.
  wifi: {
    up: { delayMs: 2, jitterMs: 1, distribution: 'pareto', lossPct: 0.1, rateKbit: 100_000 },
    down: { delayMs: 2, jitterMs: 1, distribution: 'pareto', lossPct: 0.1, rateKbit: 100_000 }
  },
  // Pei et al., "WiFi can be the weakest link of round trip network latency in the wild", INFOCOM 2016: over 20 ms for half of
  // the packets on a crowded campus, over 100 ms for a tenth. Losses in runs and the rate are ours.
  'wifi-bad': {
    up: { delayMs: 20, jitterMs: 15, distribution: 'pareto', lossPct: 3, lossBurst: 3, rateKbit: 10_000 },
    down: { delayMs: 20, jitterMs: 15, distribution: 'pareto', lossPct: 3, lossBurst: 3, rateKbit: 10_000 }
  },
  // Huang et al., "A Close Examination of Performance and Power Characteristics of 4G LTE Networks", MobiSys 2012: medians of
  // 13 Mbit/s down and 6 up; WebPageTest's profile "LTE" has the round trip, 70 ms. Spread and loss are ours.
  'mobile-4g': {
    up: { delayMs: 35, jitterMs: 10, distribution: 'paretonormal', lossPct: 0.5, rateKbit: 6000 },
    down: { delayMs: 35, jitterMs: 10, distribution: 'paretonormal', lossPct: 0.5, rateKbit: 13_000 }
  },
  // WebPageTest's profile "3GFast": 1.6 Mbit/s down, 768 kbit/s up, 150 ms of round trip. Spread and losses in runs, as
  // radio has them where it fades, are ours.
  'mobile-3g': {
    up: { delayMs: 75, jitterMs: 20, distribution: 'paretonormal', lossPct: 1, lossBurst: 2, rateKbit: 768 },
    down: { delayMs: 75, jitterMs: 20, distribution: 'paretonormal', lossPct: 1, lossBurst: 2, rateKbit: 1600 }
  },
  // Geostationary: up and down again 35,786 km are 239 ms each way, and "Measuring Broadband America" has round trips of
  // about 600 ms. Rates of a common plan; spread and loss are ours.
  satellite: {
    up: { delayMs: 300, jitterMs: 10, distribution: 'normal', lossPct: 0.5, rateKbit: 3000 },
    down: { delayMs: 300, jitterMs: 10, distribution: 'normal', lossPct: 0.5, rateKbit: 25_000 }
  }
}

export const LINK_PRESET_NAMES = Object.keys(LINK_PRESETS) as LinkPreset[]
