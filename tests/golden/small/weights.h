/* Constants of net: 740 bytes.
 *
 * Generated for a golden file. */
#ifndef FM_WEIGHTS_H
#define FM_WEIGHTS_H

#include <stdint.h>

extern const int8_t fm_n0_weights[72];
extern const int32_t fm_n0_bias[4];
extern const int32_t fm_n0_multipliers[4];
extern const int8_t fm_n3_weights[144];
extern const int32_t fm_n3_bias[4];
extern const int32_t fm_n3_multipliers[4];
extern const int8_t fm_n6_weights[12];
extern const int32_t fm_n6_bias[3];
extern const int32_t fm_n6_multipliers[3];
extern const int8_t fm_n6_table_table[256];
extern const int8_t fm_n9_weights[144];
extern const int32_t fm_n9_bias[3];
extern const int32_t fm_n9_multipliers[3];

#endif
