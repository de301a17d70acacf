/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
enum { EXT4_READ, EXT4_WRITE, EXT4_OPEN, EXT4_FSYNC };
