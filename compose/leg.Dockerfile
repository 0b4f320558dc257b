# Routers and host legs: the tools of the network (Debian's iproute2, nftables, iptables, conntrack), fetched on the host into
# root/, and the leg program. It is given NET_ADMIN and nothing else when it runs.
ARG BASE_IMAGE=node:24-bookworm-slim
FROM ${BASE_IMAGE}
ENV NODE_ENV=production
COPY root/usr /usr
COPY root/etc /etc
COPY app /app
WORKDIR /app
CMD ["node", "/app/dist/leg.js"]
