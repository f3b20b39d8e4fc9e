"""Images in, evidence out: everything Leukoscope learns and measures, without Django anywhere."""
