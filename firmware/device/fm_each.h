/* FM_EACH(3U, X) stands for X(0) X(1) X(2): a statement for every input or output of the model, up to eight. */
#ifndef FM_EACH_H
#define FM_EACH_H

#define FM_EACH(count, x) FM_EACH_PASTE(FM_EACH_, count)(x)
#define FM_EACH_PASTE(left, right) FM_EACH_PASTE_EXPANDED(left, right)
#define FM_EACH_PASTE_EXPANDED(left, right) left##right

#define FM_EACH_1U(x) x(0)
#define FM_EACH_2U(x) FM_EACH_1U(x) x(1)
#define FM_EACH_3U(x) FM_EACH_2U(x) x(2)
#define FM_EACH_4U(x) FM_EACH_3U(x) x(3)
#define FM_EACH_5U(x) FM_EACH_4U(x) x(4)
#define FM_EACH_6U(x) FM_EACH_5U(x) x(5)
#define FM_EACH_7U(x) FM_EACH_6U(x) x(6)
#define FM_EACH_8U(x) FM_EACH_7U(x) x(7)

#endif
