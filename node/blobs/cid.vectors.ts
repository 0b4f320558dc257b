const text = (s: string): Uint8Array => Buffer.from(s)

/**
 * Content, its CID and its shard of 1024: published test vectors of the network, checked with ipfs-unixfs-importer.
 * The probes sit on the edges of the shard ranges 0-255 and 512-767.
 */
export const cidVectors: Array<[string, Uint8Array, string, number]> = [
  ['hello world', text('hello world'), 'bafybeihykld7uyxzogax6vgyvag42y7464eywpf55gxi5qpoisibh3c5wa', 538],
  ['hello bytecave', text('hello bytecave'), 'bafybeifjihox6xexu6jvcnvckwxmbj7ww2kr76tyovmrv2kwezcjzw76zi', 942],
  ['1024 × 00', Buffer.alloc(1024), 'bafybeibardz2iucnquvz2y3d524cszv4dsq2btqyad5lg62ypi5amnrx64', 329],
  ['262144 × 00', Buffer.alloc(262144), 'bafybeibsr5kjsohzzjy5qvpycm27g3npukuluduozbmvywb6bdrpocmv7a', 20],
  ['262145 × 00', Buffer.alloc(262145), 'bafybeigzrlx5fjmx5vt2ii74zustfyqpdhlv2kq26lydnxqawjcrlapwtu', 981],
  ['307200 × 00', Buffer.alloc(307200), 'bafybeifhunydvc4kf3rd3tspf7gnfwmyp3bbzjobj46znjclntmsnp72pi', 100],
  ['1 MiB × 00', Buffer.alloc(1 << 20), 'bafybeiephzsrbttogsiujiqziwjmhvu3pbggy256l76g2ootaediqz4mnq', 2],
  ['probe 2603', text('shard-probe-2603'), 'bafybeihqxbxk6qda7vreduybjvbjfxhzgryibaipsf75v2kfmulvbafof4', 0],
  ['probe 2309', text('shard-probe-2309'), 'bafybeicvz6icpkk725p267lm7kdvd2yletlxec3pythxgwazquc5wqznxm', 255],
  ['probe 1259', text('shard-probe-1259'), 'bafybeiceopz37ofrern6z4kc5ixxiqp5a3ggnzw6bzcvcqgw3k3bu4quiu', 256],
  ['probe 102', text('shard-probe-102'), 'bafybeiasiacwsrstawc7srjignvyg4kzgsoq62rxuh7obpu2fr6jupznza', 511],
  ['probe 3546', text('shard-probe-3546'), 'bafybeihz7s3xywhu3cjw5ezxh23eett3m66opf3h2urh2257nv2gyf4ucm', 512],
  ['probe 541', text('shard-probe-541'), 'bafybeidz3i5c2n5rfkyzon23j67cqmtpgqx7k7wcbubgzt5l4je7omcume', 767],
  ['probe 1721', text('shard-probe-1721'), 'bafybeicwmvibnufcou7ivcveh5je4cqso3wmnfskrbulzcjaxodlsvjrdm', 768],
  ['probe 215', text('shard-probe-215'), 'bafybeiexu574w2n5ukgjbpbd3ei6nxrgrhhigvqpg76nfm37n3fhnw76pq', 1023]
]
