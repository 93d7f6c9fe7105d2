#define _GNU_SOURCE
#include "CSluiceSystem.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int csluice_prepare_datagrams(int fd, int receive_buffer) {
  int one = 1;
  if (setsockopt(fd, SOL_SOCKET, SO_RXQ_OVFL, &one, sizeof one) != 0) return -1;
  /* Beyond net.core.rmem_max only with privileges. */
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &receive_buffer, sizeof receive_buffer) != 0 &&
      setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer) != 0)
    return -1;
  int granted = 0;
  socklen_t size = sizeof granted;
  if (getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &granted, &size) != 0) return -1;
  return granted / 2; /* the kernel doubles what it is told, for its own bookkeeping */
}

static void write_sender(const struct sockaddr_storage *from, char text[CSLUICE_SENDER_BYTES]) {
  text[0] = 0;
  if (from->ss_family == AF_INET) {
    inet_ntop(AF_INET, &((const struct sockaddr_in *)from)->sin_addr, text, CSLUICE_SENDER_BYTES);
  } else if (from->ss_family == AF_INET6) {
    const struct in6_addr *address = &((const struct sockaddr_in6 *)from)->sin6_addr;
    if (IN6_IS_ADDR_V4MAPPED(address))
      inet_ntop(AF_INET, address->s6_addr + 12, text, CSLUICE_SENDER_BYTES);
    else
      inet_ntop(AF_INET6, address, text, CSLUICE_SENDER_BYTES);
  }
}

int csluice_receive_datagrams(int fd, void *bytes, size_t each, struct csluice_datagram *out, unsigned count,
                              uint32_t *overflow) {
  enum { most = 64 };
  struct mmsghdr messages[most];
  struct iovec parts[most];
  struct sockaddr_storage from[most];
  _Alignas(struct cmsghdr) char control[most][CMSG_SPACE(sizeof(uint32_t))];
  if (count > most) count = most;
  memset(messages, 0, count * sizeof messages[0]);
  for (unsigned i = 0; i < count; i++) {
    parts[i] = (struct iovec){(char *)bytes + i * each, each};
    messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                          .msg_namelen = sizeof from[i],
                                          .msg_iov = &parts[i],
                                          .msg_iovlen = 1,
                                          .msg_control = control[i],
                                          .msg_controllen = sizeof control[i]};
  }
  int received = recvmmsg(fd, messages, count, MSG_DONTWAIT, NULL);
  for (int i = 0; i < received; i++) {
    out[i].length = messages[i].msg_len;
    out[i].is_truncated = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    write_sender(&from[i], out[i].sender);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&messages[i].msg_hdr); c; c = CMSG_NXTHDR(&messages[i].msg_hdr, c))
      if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) memcpy(overflow, CMSG_DATA(c), sizeof *overflow);
  }
  return received;
}
