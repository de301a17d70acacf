// sort_by(): sorts by a number of each item and keeps the order of equals.
//
// std::stable_sort is two kilobytes and more for each type and each comparison it is used with. Here the numbers are
// sorted, by one function for all, and the items follow.
#pragma once
#include <skep/types.hpp>

#include <functional>
#include <utility>
#include <vector>

namespace skep::base {

/// Where each of `numbers` goes first: their places, smallest number first, equals in the order they stand in.
std::vector<u32> places_in_order(const std::vector<u64>& numbers);

/// `number`: a member, or what gives an unsigned number for an item. Fewer than 2^32 items.
template <class T, class Number>
void sort_by(std::vector<T>& items, Number number) {
  std::vector<u64> numbers;
  numbers.reserve(items.size());
  for (const T& item : items) numbers.push_back(std::invoke(number, item));
  std::vector<T> sorted;
  sorted.reserve(items.size());
  for (const u32 place : places_in_order(numbers)) sorted.push_back(std::move(items[place]));
  items = std::move(sorted);
}

}  // namespace skep::base
