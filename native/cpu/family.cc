// Compiled once per kernel family and instruction set: BRASA_FAMILY is the file, BRASA_ISA its namespace.
#include BRASA_FAMILY
