"""The MSP430FR5994 in simulation: CPUX with cycle counts, MPY32, DMA, FRAM and what else a firmware needs."""

from __future__ import annotations

from freeml.sim.msp430.machine import Msp430Machine

__all__ = ["Msp430Machine"]
