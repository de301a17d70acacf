// Everything a program needs to load, attach, feed and inspect eBPF: one include.
#pragma once
#include <skep/backend.hpp>
#include <skep/insn.hpp>
#include <skep/inspect.hpp>
#include <skep/map_batch.hpp>
#include <skep/result.hpp>
#include <skep/spec.hpp>
#include <skep/types.hpp>
