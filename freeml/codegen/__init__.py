"""From a planned integer graph to readable C."""
