"""Compares a mail host and its zones with the stack, and puts right what differs. The program does without.

What the host says of itself comes from `mailhostctl drift`, by the same way as for the doctor.
"""
