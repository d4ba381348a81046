"""IndexTTS-2: 22,050 Hz."""
