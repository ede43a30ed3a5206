#ifndef CONFIG_H_
#define CONFIG_H_

// Upstream's build writes it.
#define VERSION "0.1.97"
#define PACKAGE "sentencepiece"

#endif  // CONFIG_H_
