#!/usr/bin/env python3
"""Carries IP packets between TUN devices, each packet late by the same time.

late.py MILLISECONDS NAME=ADDRESS ...

Makes one device for each NAME, prints "ready", and takes packets for ADDRESS to it. Devices may be moved to other network
namespaces meanwhile. Ends, and the devices with it, when its standard input is closed. For kernels without netem.
"""
import collections
import fcntl
import os
import select
import socket
import struct
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# Packets under way; what comes on top of them is lost, as in any router.
UNDER_WAY_MAX = 20000


def device(name):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


def main():
    late = int(sys.argv[1]) / 1000
    routes = {}
    poll = select.poll()
    poll.register(0, select.POLLIN | select.POLLHUP)
    for argument in sys.argv[2:]:
        name, address = argument.split("=")
        fd = device(name)
        routes[socket.inet_aton(address)] = fd
        poll.register(fd, select.POLLIN)
    print("ready", flush=True)
    under_way = collections.deque()
    while True:
        wait = None
        if under_way:
            wait = max(0, (under_way[0][0] - time.monotonic()) * 1000)
        for fd, _ in poll.poll(wait):
            if fd == 0:
                if not os.read(0, 1024):
                    return
                continue
            try:
                while True:
                    packet = os.read(fd, 65536)
                    to = routes.get(packet[16:20]) if packet[0] >> 4 == 4 else None
                    if to is not None and len(under_way) < UNDER_WAY_MAX:
                        under_way.append((time.monotonic() + late, to, packet))
            except BlockingIOError:
                pass
            except OSError:
                pass  # the device is down while it changes its namespace
        now = time.monotonic()
        while under_way and under_way[0][0] <= now:
            _, to, packet = under_way.popleft()
            try:
                os.write(to, packet)
            except OSError:
                pass  # lost


main()
