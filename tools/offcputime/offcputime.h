/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
enum { THREADS_ALL, THREADS_USER, THREADS_KERNEL };
