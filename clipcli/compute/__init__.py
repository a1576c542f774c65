"""Encoders behind one protocol, and the devices and number formats that they compute in."""
