"""The Apollo4 simulator: unicorn executes, hooks in C count, check and model what surrounds the processor."""
