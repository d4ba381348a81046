"""IndexTTS 1.0 and 1.5: 24,000 Hz, no acoustic model between the GPT and the vocoder."""
