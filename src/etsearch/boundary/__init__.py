"""What comes from outside, taken in: numbers in their range, texts that can be shown, files that are whole."""
