# Names of TCP states and of the flags in a TCP header.
_STATES = ("ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT",
           "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV")
tcpstate = dict(enumerate(_STATES, 1))

_FLAGS = (("FIN", 0x01), ("SYN", 0x02), ("RST", 0x04), ("PSH", 0x08), ("ACK", 0x10), ("URG", 0x20), ("ECE", 0x40),
          ("CWR", 0x80))
(TCPHDR_FIN, TCPHDR_SYN, TCPHDR_RST, TCPHDR_PSH, TCPHDR_ACK, TCPHDR_URG, TCPHDR_ECE,
 TCPHDR_CWR) = [bit for _, bit in _FLAGS]


def flags2str(flags):
    """"SYN|ACK" of 0x12."""
    return "|".join(name for name, bit in _FLAGS if flags & bit)
