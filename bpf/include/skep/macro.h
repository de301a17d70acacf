/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/*
 * Small preprocessor tools that the other headers share: join tokens, count arguments, choose by
 * their number. SKEP_COUNT(a, b) is 2 and SKEP_COUNT() is 0 (up to 12).
 */
#ifndef SKEP_MACRO_H
#define SKEP_MACRO_H

#define SKEP_JOIN_(a, b) a##b
#define SKEP_JOIN(a, b) SKEP_JOIN_(a, b)
#define SKEP_TEXT_(...) #__VA_ARGS__
#define SKEP_TEXT(...) SKEP_TEXT_(__VA_ARGS__)

#define SKEP_COUNT_(zero, a, b, c, d, e, f, g, h, i, j, k, l, n, ...) n
#define SKEP_COUNT(...) SKEP_COUNT_(0, ##__VA_ARGS__, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)

/*
 * SKEP_PICK(NAME_, a, b) is NAME_2: the macro for that many arguments. The call, (a, b), is written behind it and
 * not by it, because a macro does not expand inside itself, and such calls are nested.
 */
#define SKEP_PICK(prefix, ...) SKEP_JOIN(prefix, SKEP_COUNT(__VA_ARGS__))

#endif
