//! Sidetone nodes that packetize, order and depacketize RTP.
